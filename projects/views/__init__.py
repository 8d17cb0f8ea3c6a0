"""The first page, projects, their data, jobs and trash."""
