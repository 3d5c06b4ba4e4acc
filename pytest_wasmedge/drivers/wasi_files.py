"""What our component of wasi:http uses of wasi:filesystem, declared in each of the four places that need it."""

from __future__ import annotations

TYPES = {"i": "i32", "I": "i64"}

# What we use of wasi:filesystem: the parameters and the result of each call in the component, and the parameters of
# the same call in a core module (i for i32, I for i64). All but those that drop a handle return at an address.
_DONE = "(result (result (error $error-code)))"
_PATH = '(param "path" string)'
_FOLLOWED = f'(param "path-flags" $path-flags) {_PATH}'
_TIMES = "".join(f'(param "data-{each}-timestamp" $new-timestamp) ' for each in ("access", "modification"))
_TO = '(param "new-descriptor" (borrow $descriptor)) (param "new-path" string)'
_NEXT = "(result (result (option $directory-entry) (error $error-code)))"
_FILES = {
    "get-type": ("(result (result $descriptor-type (error $error-code)))", "ii"),
    "set-size": (f'(param "size" u64) {_DONE}', "iIi"),
    "set-times": (f"{_TIMES}{_DONE}", "iiIiiIii"),
    "read": (
        '(param "length" u64) (param "offset" u64) (result (result (tuple (list u8) bool) (error $error-code)))',
        "iIIi",
    ),
    "write": (
        '(param "buffer" (list u8)) (param "offset" u64) (result (result u64 (error $error-code)))',
        "iiiIi",
    ),
    "read-directory": ("(result (result (own $entries) (error $error-code)))", "ii"),
    "create-directory-at": (f"{_PATH} {_DONE}", "iiii"),
    "stat": ("(result (result $descriptor-stat (error $error-code)))", "ii"),
    "stat-at": (f"{_FOLLOWED} (result (result $descriptor-stat (error $error-code)))", "iiiii"),
    "set-times-at": (f"{_FOLLOWED} {_TIMES}{_DONE}", "iiiiiIiiIii"),
    "link-at": (
        f'(param "old-path-flags" $path-flags) (param "old-path" string) {_TO} {_DONE}',
        "iiiiiiii",
    ),
    "open-at": (
        f'{_FOLLOWED} (param "open-flags" $open-flags) (param "flags" $descriptor-flags) '
        "(result (result (own $descriptor) (error $error-code)))",
        "iiiiiii",
    ),
    "readlink-at": (f"{_PATH} (result (result string (error $error-code)))", "iiii"),
    "remove-directory-at": (f"{_PATH} {_DONE}", "iiii"),
    "rename-at": (f'(param "old-path" string) {_TO} {_DONE}', "iiiiiii"),
    "symlink-at": (f'(param "old-path" string) (param "new-path" string) {_DONE}', "iiiiii"),
    "unlink-file-at": (f"{_PATH} {_DONE}", "iiii"),
    "metadata-hash": ("(result (result $metadata-hash-value (error $error-code)))", "ii"),
    "metadata-hash-at": (
        f"{_FOLLOWED} (result (result $metadata-hash-value (error $error-code)))",
        "iiiii",
    ),
}


def declarations() -> dict[str, str]:
    """Return what stands in the component's text for each of its places."""
    exports, imports, lowered = [], [], []
    methods = {f"descriptor.{name}": (f"[method]descriptor.{name}", *each) for name, each in _FILES.items()}
    methods["entries.next"] = ("[method]directory-entry-stream.read-directory-entry", _NEXT, "ii")
    for name, (method, type_, letters) in methods.items():
        resource = "$entries" if name == "entries.next" else "$descriptor"
        exports.append(f'    (export "{method}" (func (param "self" (borrow {resource})) {type_}))')
        imports.append(_import(name, letters))
        lowered.append(
            f'  (core func ${name} (canon lower (func $files "{method}") (memory $own) (realloc $realloc)))'
        )
    for resource in ("descriptor", "entries"):
        methods[f"{resource}.drop"] = ("", "", "i")
        imports.append(_import(f"{resource}.drop", "i"))
        lowered.append(f"  (core func ${resource}.drop (canon resource.drop ${resource}))")
    given = [f'      (export "{name}" (func ${name}))' for name in methods]
    return {
        "FILES_EXPORTS": "\n".join(exports),
        "FILES_IMPORTS": "\n".join(imports),
        "FILES_LOWERED": "\n".join(lowered),
        "FILES_GIVEN": "\n".join(given),
    }


def _import(name: str, letters: str) -> str:
    params = " ".join(TYPES[letter] for letter in letters)
    return f'    (import "wasi" "{name}" (func ${name} (param {params})))'
