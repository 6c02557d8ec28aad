"""Recurrent cells: the plan of a cell's sweeps over time, its lowering to torch, and the module around it."""
