"""The writer: takes batches from the bus, writes them to the store, and acknowledges after the commit."""
