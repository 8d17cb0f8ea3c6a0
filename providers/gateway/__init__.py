"""Every model call goes through here. Plain asyncio Python: no Django, no settings."""
