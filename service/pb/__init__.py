"""Generated wire types, one package a version."""
