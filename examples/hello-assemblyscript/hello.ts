// AssemblyScript's own library asks for a browser, so this one call of preview 1 is declared here.
@external("wasi_snapshot_preview1", "fd_write")
declare function fd_write(descriptor: i32, parts: usize, count: i32, written: usize): i32;

@unmanaged
class Part {
  address: usize;
  length: usize;
}

export function _start(): void {
  const text = String.UTF8.encode("Hello, World!\n");
  const part = new Part();
  part.address = changetype<usize>(text);
  part.length = <usize>text.byteLength;
  fd_write(1, changetype<usize>(part), 1, memory.data(sizeof<usize>()));
}

// Called where the program cannot go on; the compiler is told its name.
function abort(message: string | null, file: string | null, line: u32, column: u32): void {
  unreachable();
}
