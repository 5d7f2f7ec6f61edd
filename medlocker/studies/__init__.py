"""Studies: a plan becomes cells, cells become readings, readings become tables and figures."""
