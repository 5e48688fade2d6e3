//! Canonical text, md5 and bucket of a shard key.
