// No exception leaves a function that Rust calls: each one returns what went wrong as text, which the
// caller gives back to ddim_message_free, or null.
#pragma once

#include <cstdlib>
#include <cstring>
#include <exception>

#include <c10/util/Exception.h>

// Without memory for the text of an error there is none for anything else.
inline char* said(const char* text) noexcept {
  const std::size_t size = std::strlen(text) + 1;
  char* memory = static_cast<char*>(std::malloc(size));
  if (!memory) std::abort();
  return static_cast<char*>(std::memcpy(memory, text, size));
}

template <class Action>
char* guarded(Action action) noexcept {
  try {
    action();
    return nullptr;
  } catch (const c10::Error& error) {
    return said(error.what_without_backtrace());
  } catch (const std::exception& error) {
    return said(error.what());
  } catch (...) {
    return said("an exception of no known kind");
  }
}
