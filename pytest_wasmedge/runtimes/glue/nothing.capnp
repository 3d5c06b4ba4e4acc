# An empty configuration: `workerd bench` finds no benchmark in it, and prints which V8 it has.
using Workerd = import "/workerd/workerd.capnp";
const nothing :Workerd.Config = ();
