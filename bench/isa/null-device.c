/*
 * Stands between the Vulkan loader and Mesa's driver for AMD (RADV), whose null device (RADV_FORCE_FAMILY) compiles for a
 * chip that is not there but must not be asked to record, submit or wait. Those calls answer "done" here without doing
 * anything; every other call is the driver's own. What is "computed" is therefore never there: for compiling only.
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef void (*Function)(void);
typedef Function (*Lookup)(void *, const char *);
#define EXPORT __attribute__((visibility("default")))

static void *radv;
static Lookup radv_instance_lookup, radv_device_lookup;

/* VK_SUCCESS for calls that return a result, nothing for those that do not: callers of the latter ignore it. */
static int done(void) { return 0; }

static int touches_the_chip(const char *name) {
  static const char *const prefixes[] = {"vkCmd", "vkQueueSubmit", 0};
  static const char *const names[] = {"vkBeginCommandBuffer", "vkEndCommandBuffer", "vkResetCommandBuffer",
                                      "vkResetCommandPool",   "vkQueueWaitIdle",    "vkDeviceWaitIdle",
                                      "vkWaitForFences",      "vkGetFenceStatus",   "vkResetFences", 0};
  for (const char *const *p = prefixes; *p; p++)
    if (strncmp(name, *p, strlen(*p)) == 0) return 1;
  for (const char *const *n = names; *n; n++)
    if (strcmp(name, *n) == 0) return 1;
  return 0;
}

static Function device_lookup(void *device, const char *name) {
  Function own = radv_device_lookup(device, name);
  return own && touches_the_chip(name) ? (Function)done : own;
}

static void *symbol(const char *name) {
  if (!radv) radv = dlopen(getenv("OCHRE_RADV"), RTLD_NOW | RTLD_LOCAL);
  return radv ? dlsym(radv, name) : 0;
}

EXPORT int vk_icdNegotiateLoaderICDInterfaceVersion(uint32_t *version) {
  int (*negotiate)(uint32_t *) = (int (*)(uint32_t *))symbol("vk_icdNegotiateLoaderICDInterfaceVersion");
  return negotiate ? negotiate(version) : -3; /* VK_ERROR_INITIALIZATION_FAILED */
}

EXPORT Function vk_icdGetPhysicalDeviceProcAddr(void *instance, const char *name) {
  Lookup lookup = (Lookup)symbol("vk_icdGetPhysicalDeviceProcAddr");
  return lookup ? lookup(instance, name) : 0;
}

EXPORT Function vk_icdGetInstanceProcAddr(void *instance, const char *name) {
  if (!radv_instance_lookup) radv_instance_lookup = (Lookup)symbol("vk_icdGetInstanceProcAddr");
  Function own = radv_instance_lookup ? radv_instance_lookup(instance, name) : 0;
  if (!own) return 0;
  if (strcmp(name, "vkGetDeviceProcAddr") == 0) {
    radv_device_lookup = (Lookup)own;
    return (Function)device_lookup;
  }
  return touches_the_chip(name) ? (Function)done : own;
}
