// A Vulkan driver in front of another, which counts the kernels that are launched.
//
// The loader takes it for a driver. All goes through to the library that KERAS_SKD_DRIVER names;
// two commands are counted on their way. At the end the number is written to the file that
// KERAS_SKD_LAUNCHES names.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void (*Function)(void);
typedef Function (*Lookup)(void *, const char *);

static unsigned long launches;
static void (*dispatch)(void *, uint32_t, uint32_t, uint32_t);
static void (*dispatch_indirect)(void *, uint64_t, uint64_t);
static Lookup of_device;

static Function driver(const char *name) {
    static void *library;
    if (!library) library = dlopen(getenv("KERAS_SKD_DRIVER"), RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        fprintf(stderr, "vulkan_launches: %s\n", dlerror());
        exit(1);
    }
    return (Function)dlsym(library, name);
}

static void counted(void *commands, uint32_t x, uint32_t y, uint32_t z) {
    __atomic_add_fetch(&launches, 1, __ATOMIC_RELAXED);
    dispatch(commands, x, y, z);
}

static void counted_indirect(void *commands, uint64_t buffer, uint64_t offset) {
    __atomic_add_fetch(&launches, 1, __ATOMIC_RELAXED);
    dispatch_indirect(commands, buffer, offset);
}

static Function in_front(const char *name, Function real);

static Function device_lookup(void *device, const char *name) {
    return in_front(name, of_device(device, name));
}

static Function in_front(const char *name, Function real) {
    if (!real) return real;
    if (!strcmp(name, "vkCmdDispatch")) {
        dispatch = (void *)real;
        return (Function)counted;
    }
    if (!strcmp(name, "vkCmdDispatchIndirect")) {
        dispatch_indirect = (void *)real;
        return (Function)counted_indirect;
    }
    if (!strcmp(name, "vkGetDeviceProcAddr")) {
        of_device = (Lookup)real;
        return (Function)device_lookup;
    }
    return real;
}

Function vk_icdGetInstanceProcAddr(void *instance, const char *name) {
    return in_front(name, ((Lookup)driver("vk_icdGetInstanceProcAddr"))(instance, name));
}

Function vk_icdGetPhysicalDeviceProcAddr(void *instance, const char *name) {
    Lookup lookup = (Lookup)driver("vk_icdGetPhysicalDeviceProcAddr");
    return lookup ? lookup(instance, name) : NULL;
}

int32_t vk_icdNegotiateLoaderICDInterfaceVersion(uint32_t *version) {
    int32_t (*negotiate)(uint32_t *) = (void *)driver("vk_icdNegotiateLoaderICDInterfaceVersion");
    return negotiate(version);
}

__attribute__((destructor)) static void report(void) {
    const char *path = getenv("KERAS_SKD_LAUNCHES");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (!file) return;
    fprintf(file, "%lu\n", launches);
    fclose(file);
}
