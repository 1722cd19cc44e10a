"""The commands, by what they are for. With console.py the only modules that print, draw progress and exit."""
