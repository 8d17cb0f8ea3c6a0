"""Processes under one supervisor: started together, restarted when they die, gone together."""
