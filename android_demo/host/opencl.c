/* libOpenCL.so as the delegate finds it: the machine's OpenCL with a processor that calls itself a GPU.

   What is not here is the loader's, which this library depends on: dlsym looks there too. */
#define CL_TARGET_OPENCL_VERSION 120
#define _GNU_SOURCE
#include <CL/cl.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The function of this name in the library behind. */
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static long launches, failures;
long opencl_launches(void) { return launches; }
long opencl_failures(void) { return failures; }

static cl_int counted(const char *call, cl_int status, long *good) {
  if (status != CL_SUCCESS) {
    failures++;
    fprintf(stderr, "OpenCL error: %s gives %d\n", call, status);
  } else if (good) {
    ++*good;
  }
  return status;
}

/* The prelude of half.cl, if float16 is asked for. */
static const char *prelude(void) {
  static char *text;
  const char *path = getenv("CLASSIC_GPU_PRELUDE");
  if (!text && path) {
    FILE *file = fopen(path, "r");
    if (!file) return NULL;
    text = calloc(1, 1 << 16);
    fread(text, 1, (1 << 16) - 1, file);
    fclose(file);
  }
  return text;
}

/* --- the device -------------------------------------------------------------------------------- */

cl_int clGetDeviceIDs(cl_platform_id platform, cl_device_type type, cl_uint size, cl_device_id *devices,
                      cl_uint *count) {
  (void)type;
  return REAL(clGetDeviceIDs)(platform, CL_DEVICE_TYPE_ALL, size, devices, count);
}

static cl_int answer(const void *value, size_t length, size_t size, void *target, size_t *needed) {
  if (needed) *needed = length;
  if (!target) return CL_SUCCESS;
  if (size < length) return CL_INVALID_VALUE;
  memcpy(target, value, length);
  return CL_SUCCESS;
}

cl_int clGetDeviceInfo(cl_device_id device, cl_device_info what, size_t size, void *target, size_t *needed) {
  const cl_device_type gpu = CL_DEVICE_TYPE_GPU;
  /* A name that is none of a maker's: "Intel" or "Mali" would get kernels made for those chips. */
  static const char name[] = "neutral";
  char extensions[8192];
  switch (what) {
    case CL_DEVICE_TYPE:
      return answer(&gpu, sizeof gpu, size, target, needed);
    case CL_DEVICE_NAME:
    case CL_DEVICE_VENDOR:
      return answer(name, sizeof name, size, target, needed);
    case CL_DEVICE_EXTENSIONS:
      if (!prelude()) break;
      cl_int status = REAL(clGetDeviceInfo)(device, what, sizeof extensions - 16, extensions, NULL);
      if (status != CL_SUCCESS) return status;
      if (!strstr(extensions, "cl_khr_fp16")) strcat(extensions, " cl_khr_fp16");
      return answer(extensions, strlen(extensions) + 1, size, target, needed);
  }
  return REAL(clGetDeviceInfo)(device, what, size, target, needed);
}

/* --- kernels ----------------------------------------------------------------------------------- */

cl_program clCreateProgramWithSource(cl_context context, cl_uint count, const char **texts,
                                     const size_t *lengths, cl_int *status) {
  const char *all[2] = {prelude(), *texts};
  size_t sizes[2] = {all[0] ? strlen(all[0]) : 0, lengths && *lengths ? *lengths : strlen(*texts)};
  if (!all[0] || count != 1)
    return REAL(clCreateProgramWithSource)(context, count, texts, lengths, status);
  return REAL(clCreateProgramWithSource)(context, 2, all, sizes, status);
}

cl_int clBuildProgram(cl_program program, cl_uint count, const cl_device_id *devices, const char *options,
                      void (*notify)(cl_program, void *), void *data) {
  /* Compiling takes longer than running. PoCL 3.1 crashes on unoptimised _Float16. */
  char all[2048];
  snprintf(all, sizeof all, "%s%s", options ? options : "", prelude() ? "" : " -cl-opt-disable");
  cl_int status = REAL(clBuildProgram)(program, count, devices, all, notify, data);
  if (status != CL_SUCCESS && count == 1) {
    char text[4096] = "";
    REAL(clGetProgramBuildInfo)(program, *devices, CL_PROGRAM_BUILD_LOG, sizeof text, text, NULL);
    fprintf(stderr, "%s\n", text);
  }
  return counted("clBuildProgram", status, NULL);
}

cl_int clEnqueueNDRangeKernel(cl_command_queue queue, cl_kernel kernel, cl_uint axes, const size_t *offset,
                              const size_t *global, const size_t *local, cl_uint waits,
                              const cl_event *wait_list, cl_event *event) {
  return counted("clEnqueueNDRangeKernel",
                 REAL(clEnqueueNDRangeKernel)(queue, kernel, axes, offset, global, local, waits, wait_list, event),
                 &launches);
}
