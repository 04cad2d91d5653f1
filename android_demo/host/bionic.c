/* Android's C library for two libraries of Android, on top of glibc.

   install.py links this file into one library that stands for libc.so, libm.so, libdl.so, liblog.so,
   libEGL.so and libGLESv3.so. Both C libraries follow the same calling convention and the kernel's
   structures, so that nearly every function is glibc's own: install.py writes a jump for each one
   (forward.S). Here is what Android has and glibc has not, or has with another layout.

   Android's symbols carry the version LIBC. SYMBOL gives a function that name, and leaves the plain
   name to glibc's. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SYMBOL(name) __attribute__((symver(#name "@LIBC")))

/* --- stdio: stdin, stdout and stderr are three structures in a row ---------------------------- */

enum { FILE_SIZE = 152 };
SYMBOL(__sF) char android_files[3 * FILE_SIZE];

static FILE *stream(void *file) {
  FILE *standard[] = {stdin, stdout, stderr};
  ptrdiff_t place = (char *)file - android_files;
  return place >= 0 && place < (ptrdiff_t)sizeof android_files ? standard[place / FILE_SIZE] : file;
}

SYMBOL(vfprintf) int android_vfprintf(void *file, const char *format, va_list values) {
  return vfprintf(stream(file), format, values);
}

SYMBOL(fprintf) int android_fprintf(void *file, const char *format, ...) {
  va_list values;
  va_start(values, format);
  int written = vfprintf(stream(file), format, values);
  va_end(values);
  return written;
}

SYMBOL(fputc) int android_fputc(int character, void *file) { return fputc(character, stream(file)); }
SYMBOL(fflush) int android_fflush(void *file) { return fflush(stream(file)); }
SYMBOL(fileno) int android_fileno(void *file) { return fileno(stream(file)); }
SYMBOL(fwrite) size_t android_fwrite(const void *data, size_t size, size_t count, void *file) {
  return fwrite(data, size, count, stream(file));
}

/* --- other numbers, other sizes ---------------------------------------------------------------- */

SYMBOL(sysconf) long android_sysconf(int name) {
  static const int names[][2] = {{0x06, _SC_CLK_TCK},          {0x27, _SC_PAGESIZE},
                                 {0x28, _SC_PAGESIZE},         {0x60, _SC_NPROCESSORS_CONF},
                                 {0x61, _SC_NPROCESSORS_ONLN}, {0x62, _SC_PHYS_PAGES},
                                 {0x63, _SC_AVPHYS_PAGES}};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (names[i][0] == name) return sysconf(names[i][1]);
  errno = EINVAL;
  return -1;
}

/* A set of signals has 8 bytes, and 128 in glibc. */
SYMBOL(sigfillset) int android_sigfillset(unsigned long *set) {
  *set = ~0ul;
  return 0;
}

SYMBOL(pthread_sigmask)
int android_pthread_sigmask(int how, const unsigned long *set, unsigned long *before) {
  return syscall(SYS_rt_sigprocmask, how, set, before, sizeof *set) ? errno : 0;
}

/* POSIX's, which fills the buffer; the plain name is GNU's. */
int __xpg_strerror_r(int, char *, size_t);
SYMBOL(strerror_r) int android_strerror_r(int error, char *text, size_t size) {
  return __xpg_strerror_r(error, text, size);
}

/* --- what glibc has not ------------------------------------------------------------------------ */

SYMBOL(__errno) int *android_errno(void) { return &errno; }
SYMBOL(__strlen_chk) size_t android_strlen_chk(const char *text, size_t size) {
  (void)size;
  return strlen(text);
}
SYMBOL(__system_property_get) int android_property(const char *name, char *value) {
  (void)name;
  *value = 0;
  return 0;
}
SYMBOL(android_set_abort_message) void android_abort_message(const char *text) {
  fprintf(stderr, "abort: %s\n", text);
}

/* The log, which Python reads: the delegate tells there only what it takes and what it refuses. */
static char said[1 << 20];
const char *android_log_text(void) { return said; }
int __android_log_vprint(int level, const char *tag, const char *format, va_list values) {
  (void)level, (void)tag;
  size_t length = strlen(said);
  int written = vsnprintf(said + length, sizeof said - length, format, values);
  length = strlen(said);
  if (length + 2 < sizeof said) strcpy(said + length, "\n");
  return written;
}
