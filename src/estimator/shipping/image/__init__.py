"""Build a version's container image, test it, and push it to a registry.

`build` writes the build context of a `build_spec` and has it built by one of the `builders`: a container engine, or
`direct`, which needs none. `build_record` has the push of an image to a `registry`; `ecr` is that of AWS.
"""
