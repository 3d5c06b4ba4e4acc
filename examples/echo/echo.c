// Tells what it was given, a thing at a time. The first argument says what:
//
//   args ARG …      each further argument on a line
//   env NAME …      these variables, a line each
//   stdin           stdin, byte for byte
//   read PATH       what is in this file
//   write PATH      stdin goes into this file
//   list PATH       the names in this folder, sorted
//   status NUMBER   nothing, with this exit status

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failed(const char *path) {
  fprintf(stderr, "%s: %s\n", path, strerror(errno));
  return 1;
}

static int copy(FILE *from, FILE *to) {
  char bytes[4096];
  for (size_t count; (count = fread(bytes, 1, sizeof bytes, from));)
    if (fwrite(bytes, 1, count, to) != count)
      return 0;
  return !ferror(from) && !fflush(to);
}

static int show(const char *path) {
  FILE *file = fopen(path, "rb");
  if (!file || !copy(file, stdout))
    return failed(path);
  return fclose(file);
}

static int save(const char *path) {
  FILE *file = fopen(path, "wb");
  if (!file || !copy(stdin, file) || fclose(file))
    return failed(path);
  return 0;
}

static int by_name(const void *one, const void *other) {
  return strcmp(*(char *const *)one, *(char *const *)other);
}

static int list(const char *path) {
  char *names[256];
  size_t count = 0;
  DIR *folder = opendir(path);
  if (!folder)
    return failed(path);
  for (struct dirent *entry; count < 256 && (entry = readdir(folder));)
    if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
      names[count++] = strdup(entry->d_name);
  closedir(folder);
  qsort(names, count, sizeof *names, by_name);
  for (size_t i = 0; i < count; i++)
    puts(names[i]);
  return 0;
}

int main(int count, char **args) {
  const char *what = count > 1 ? args[1] : "";
  if (!strcmp(what, "args")) {
    for (int i = 2; i < count; i++)
      puts(args[i]);
    return 0;
  }
  if (!strcmp(what, "env")) {
    for (int i = 2; i < count; i++) {
      const char *value = getenv(args[i]);
      printf("%s %s%s\n", args[i], value ? "= " : "is not set", value ? value : "");
    }
    return 0;
  }
  if (!strcmp(what, "stdin"))
    return !copy(stdin, stdout);
  if (count == 3 && !strcmp(what, "read"))
    return show(args[2]);
  if (count == 3 && !strcmp(what, "write"))
    return save(args[2]);
  if (count == 3 && !strcmp(what, "list"))
    return list(args[2]);
  if (count == 3 && !strcmp(what, "status"))
    return atoi(args[2]);
  fputs("usage: echo args|env|stdin|read|write|list|status …\n", stderr);
  return 2;
}
