"""The dashboard: what a run is doing, live, in the browser. It reads the store by named queries and writes nothing."""
