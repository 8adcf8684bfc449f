"""`make test-faults`: what faults cost, on a real API server, with replicas of the webhook behind a real Service.

README.md says how it is measured. Where things are:

    __main__   the command;  trial: one fault, and what was seen of it;  figures: the table and the goals
    catalogue  the faults by name: inprocesses, inconnections, incluster, insources, inlogs, inload;  fault: what one is
    arena      control plane, Service, proxies;  scene: what one fault has for itself;  sources: their credentials
    kubelet    keeps a replica;  replica: one of them, with pipes for its log and a memory limit;  flood: connections
    proxy      what stands between the replicas and the API server;  link: one connection through it
    tenants    owners, tokens and namespaces, and what is right;  news: what changes during a fault;  load: the pods
    soak       half an hour without a fault
"""
