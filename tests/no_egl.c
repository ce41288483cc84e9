/* Hides the EGL library from a process: preloaded, it lets dlopen() look for another name, which does not exist. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>

void* dlopen(const char* file, int mode) {
  void* (*next)(const char*, int) = (void* (*)(const char*, int))dlsym(RTLD_NEXT, "dlopen");
  return next(file != NULL && strstr(file, "libEGL.so") != NULL ? "libEGL-hidden.so.1" : file, mode);
}
