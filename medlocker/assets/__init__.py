"""Files the package ships: the default logo and the script that draws it."""
