"""The dashboard: a run seen live, in a browser. In: the store. Out: pages."""
