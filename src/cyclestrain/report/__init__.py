"""Figures and numbers about a result; import from the modules, so that numbers do not load matplotlib."""
