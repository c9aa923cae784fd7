"""Everything that touches the world: Kafka, Faust, RocksDB, HTTP and the command line. The rules live in `allocator`."""
