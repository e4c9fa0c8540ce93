"""System-call filters: reading profiles, building BPF from them, looking into what was built.

A profile in the OCI format (:mod:`.profile`) and a policy's own ``allow`` and ``deny`` become
a plain table of decisions (:mod:`.rules`), the table becomes BPF (:mod:`.build`), and an
interpreter (:mod:`.bpf`) that knows nothing of either answers what the BPF does.
"""
