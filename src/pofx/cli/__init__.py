"""The command line: thin; every verb calls one public function."""
