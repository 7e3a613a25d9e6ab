"""Steps of the package's maintainer scripts that are more than a line of shell.

Called as ``python3 -I -m phoenix_apparmor.maintscript configure|remove``.
"""
