"""WASI preview 1: its functions, and the parameters of each."""

from __future__ import annotations

#: The name of the module.
WASI = "wasi_snapshot_preview1"

# The functions and their parameters, i for i32 and I for i64. All but proc_exit return an i32.
_SIGNATURES = """
    args_get ii  args_sizes_get ii  environ_get ii  environ_sizes_get ii  clock_res_get ii  clock_time_get iIi
    fd_advise iIIi  fd_allocate iII  fd_close i  fd_datasync i  fd_fdstat_get ii  fd_fdstat_set_flags ii
    fd_fdstat_set_rights iII  fd_filestat_get ii  fd_filestat_set_size iI  fd_filestat_set_times iIIi
    fd_pread iiiIi  fd_prestat_dir_name iii  fd_prestat_get ii  fd_pwrite iiiIi  fd_read iiii  fd_readdir iiiIi
    fd_renumber ii  fd_seek iIii  fd_sync i  fd_tell ii  fd_write iiii
    path_create_directory iii  path_filestat_get iiiii  path_filestat_set_times iiiiIIi  path_link iiiiiii
    path_open iiiiiIIii  path_readlink iiiiii  path_remove_directory iii  path_rename iiiiii
    path_symlink iiiii  path_unlink_file iii
    poll_oneoff iiii  proc_exit i  proc_raise i  random_get ii  sched_yield -
    sock_accept iii  sock_recv iiiiii  sock_send iiiii  sock_shutdown ii
"""

_WORDS = _SIGNATURES.split()
#: The parameters of each function, ``i`` for i32 and ``I`` for i64: all that an artifact may import.
SIGNATURES = {name: params.strip("-") for name, params in zip(_WORDS[::2], _WORDS[1::2], strict=True)}
