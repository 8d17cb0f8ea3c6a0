"""Worker-time shell of analyses: claim, drive a stage, save."""
