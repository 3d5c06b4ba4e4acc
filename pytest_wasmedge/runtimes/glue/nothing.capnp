# A configuration of nothing: `workerd bench` finds no benchmark in it, and says which V8 it has.
using Workerd = import "/workerd/workerd.capnp";
const nothing :Workerd.Config = ();
