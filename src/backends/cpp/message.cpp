// The texts of guarded.h, made and freed by one allocator.

#include "guarded.h"

extern "C" {

char* ddim_message_new(const char* text) {
  return said(text);
}

void ddim_message_free(char* message) {
  std::free(message);
}

} // extern "C"
