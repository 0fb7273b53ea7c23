//! Checks that the fuzz targets and the corpus replay share.
