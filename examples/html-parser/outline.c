// Parses the HTML on its stdin as browsers do, with Gumbo, and writes the tree: elements with their attributes and
// text, deeper by two blanks a level. With the argument `count` it writes the number of elements alone.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gumbo.h"

static char *whole(FILE *file, size_t *length) {
  size_t room = 1 << 16;
  char *text = malloc(room);
  *length = 0;
  for (size_t count; text && (count = fread(text + *length, 1, room - *length, file));)
    if ((*length += count) == room)
      text = realloc(text, room *= 2);
  return text;
}

static void quoted(const char *text) {
  putchar('"');
  for (; *text; text++)
    if (*text == '\n')
      fputs("\\n", stdout);
    else
      putchar(*text);
  puts("\"");
}

static void name(const GumboElement *element) {
  GumboStringPiece given = element->original_tag;
  if (element->tag != GUMBO_TAG_UNKNOWN) {
    printf("<%s>\n", gumbo_normalized_tagname(element->tag));
    return;
  }
  gumbo_tag_from_original_text(&given);
  printf("<%.*s>\n", (int)given.length, given.data);
}

static unsigned walk(const GumboNode *node, int depth, int writes) {
  const GumboVector *children = NULL;
  unsigned elements = 0;
  if (node->type == GUMBO_NODE_DOCUMENT) {
    children = &node->v.document.children;
    depth--;
  } else if (node->type == GUMBO_NODE_ELEMENT || node->type == GUMBO_NODE_TEMPLATE) {
    children = &node->v.element.children;
    elements = 1;
    if (writes) {
      printf("%*s", 2 * depth, "");
      name(&node->v.element);
      for (unsigned i = 0; i < node->v.element.attributes.length; i++) {
        const GumboAttribute *attribute = node->v.element.attributes.data[i];
        printf("%*s%s=", 2 * depth + 2, "", attribute->name);
        quoted(attribute->value);
      }
    }
  } else if (writes && node->type != GUMBO_NODE_WHITESPACE) {
    printf("%*s%s", 2 * depth, "", node->type == GUMBO_NODE_COMMENT ? "comment " : "");
    quoted(node->v.text.text);
  }
  for (unsigned i = 0; children && i < children->length; i++)
    elements += walk(children->data[i], depth + 1, writes);
  return elements;
}

int main(int count, char **args) {
  int counts = count > 1 && !strcmp(args[1], "count");
  size_t length;
  char *html = whole(stdin, &length);
  if (!html)
    return 1;
  GumboOutput *parsed = gumbo_parse_with_options(&kGumboDefaultOptions, html, length);
  unsigned elements = walk(parsed->document, 0, !counts);
  if (counts)
    printf("%u\n", elements);
  return 0;
}
