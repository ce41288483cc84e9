// A CUDA driver that does nothing at once: the part of its interface that glraster calls, for benchmarks/calls.py.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>

static int done(void) { return 0; }
#define DOES_NOTHING(name) \
  int name(void) { return done(); }

DOES_NOTHING(cuInit)
DOES_NOTHING(cuCtxPushCurrent_v2)
DOES_NOTHING(cuCtxPopCurrent_v2)
DOES_NOTHING(cuThreadExchangeStreamCaptureMode)
DOES_NOTHING(cuLaunchKernel)
int cuDriverGetVersion(int* version) { return *version = 13000, 0; }
int cuDeviceGet(int* device, int ordinal) { return *device = ordinal, 0; }
int cuDeviceGetAttribute(int* value, int attribute, int device) { return *value = attribute == 16 ? 132 : 9, 0; }
int cuDevicePrimaryCtxRetain(void** context, int device) { return *context = &done, 0; }
int cuModuleLoadData(void** module, const void* image) { return *module = &done, 0; }
int cuModuleGetFunction(void** function, void* module, const char* name) { return *function = &done, 0; }
int cuGetProcAddress_v2(const char* name, void** function, int version, unsigned long long flags, int* status) {
  char versioned[80];
  snprintf(versioned, sizeof versioned, "%s_v2", name);
  void* self = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
  *function = dlsym(self, versioned);
  if (!*function) *function = dlsym(self, name);
  if (status) *status = *function ? 0 : 1;
  return *function ? 0 : 500;
}
