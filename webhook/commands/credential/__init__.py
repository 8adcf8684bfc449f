"""`pullsecret credential`: an administrator writes and reads source Secrets, without YAML and without a token in a
command line. content.py says what is in them, pure; holdings.py what an owner has and where that is used; each command
is a module; arrival.py waits until pull secrets have what was written.
"""
