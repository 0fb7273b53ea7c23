//! The post.
