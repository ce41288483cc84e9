/* Stands in for an EGL library that serves no device. tests/test_doctor.py compiles it with the soname libEGL.so.1. */
#include <stddef.h>
#include <string.h>

typedef void (*function)(void);

static unsigned query_devices(int max_devices, void** devices, int* num_devices) {
  (void)max_devices;
  (void)devices;
#ifdef CRASH
  *(volatile int*)0 = 0;
#endif
#ifdef HANG
  for (;;) {
  }
#endif
  *num_devices = 0;
  return 1;
}

static void* get_platform_display(unsigned platform, void* native, const int* attributes) {
  (void)platform;
  (void)native;
  (void)attributes;
  return NULL;
}

function eglGetProcAddress(const char* name) {
  if (!strcmp(name, "eglQueryDevicesEXT")) return (function)query_devices;
  if (!strcmp(name, "eglGetPlatformDisplayEXT")) return (function)get_platform_display;
  return NULL;
}

const char* eglQueryString(void* display, int name) {
  return display == NULL && name == 0x3055 ? "EGL_EXT_client_extensions EGL_EXT_device_enumeration" : NULL;
}

int eglGetError(void) { return 0x3000; }
void* eglGetDisplay(void* native) { return native; }
unsigned eglInitialize(void) { return 0; }
unsigned eglBindAPI(void) { return 1; }
unsigned eglQueryAPI(void) { return 0x30A2; }
unsigned eglChooseConfig(void) { return 0; }
void* eglCreateContext(void) { return NULL; }
unsigned eglDestroyContext(void) { return 0; }
void* eglCreatePbufferSurface(void) { return NULL; }
unsigned eglDestroySurface(void) { return 0; }
unsigned eglMakeCurrent(void) { return 0; }
unsigned eglReleaseThread(void) { return 1; }
void* eglGetCurrentContext(void) { return NULL; }
void* eglGetCurrentDisplay(void) { return NULL; }
void* eglGetCurrentSurface(void) { return NULL; }
unsigned eglTerminate(void) { return 1; }
