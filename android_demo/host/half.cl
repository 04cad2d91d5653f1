/* float16 for a processor whose OpenCL has none: put in front of each kernel's source by opencl.c.

   _Float16 adds and multiplies with a rounding each time, as a phone does. Functions go by way of
   float, whose result is rounded once. */
#define half _Float16
#define OWN static inline __attribute__((overloadable, always_inline))
#define VECTORS(M) M(2) M(3) M(4) M(8) M(16)
#define ALL(M) M() VECTORS(M)

#define TYPE(n) typedef _Float16 h##n __attribute__((ext_vector_type(n)));
VECTORS(TYPE)
#define half2 h2
#define half3 h3
#define half4 h4
#define half8 h8
#define half16 h16

/* --- conversions ---------------------------------------------------------------------------- */

#define FROM(type, n)                                                                             \
  OWN half##n to_half##n(type##n x) { return __builtin_convertvector(x, half##n); }
#define INTO(type, n)                                                                             \
  OWN type##n convert_##type##n(half##n x) { return __builtin_convertvector(x, type##n); }
#define CONVERT(n)                                                                                \
  FROM(float, n) FROM(int, n) FROM(uint, n) FROM(short, n) FROM(ushort, n) FROM(char, n)          \
  FROM(uchar, n) FROM(half, n) INTO(float, n) INTO(int, n) INTO(uint, n) INTO(char, n) INTO(uchar, n)
VECTORS(CONVERT)
#define FROM1(type) OWN half to_half(type x) { return x; }
#define INTO1(type) OWN type convert_##type(half x) { return x; }
FROM1(float) FROM1(int) FROM1(uint) FROM1(short) FROM1(ushort) FROM1(char) FROM1(uchar) FROM1(half)
INTO1(float) INTO1(int) INTO1(uint) INTO1(char) INTO1(uchar)
#define convert_half to_half
#define convert_half2 to_half2
#define convert_half3 to_half3
#define convert_half4 to_half4
#define convert_half8 to_half8
#define convert_half16 to_half16

#define read_imageh(...) to_half4(read_imagef(__VA_ARGS__))
#define write_imageh(image, place, value) write_imagef(image, place, convert_float4(value))

/* --- functions ------------------------------------------------------------------------------ */

#define ONE(f, n) OWN half##n f(half##n x) { return to_half##n(f(convert_float##n(x))); }
#define TWO(f, n)                                                                                 \
  OWN half##n f(half##n x, half##n y) { return to_half##n(f(convert_float##n(x), convert_float##n(y))); }
#define THREE(f, n)                                                                               \
  OWN half##n f(half##n x, half##n y, half##n z) {                                                \
    return to_half##n(f(convert_float##n(x), convert_float##n(y), convert_float##n(z)));          \
  }
#define FUNCTIONS(n)                                                                              \
  ONE(exp, n) ONE(log, n) ONE(sqrt, n) ONE(rsqrt, n) ONE(tanh, n) ONE(erfc, n) ONE(fabs, n)        \
  ONE(floor, n) ONE(ceil, n) ONE(round, n) ONE(sign, n) ONE(sin, n) ONE(cos, n)                   \
  ONE(native_exp, n) ONE(native_log, n) ONE(native_sqrt, n) ONE(native_rsqrt, n)                  \
  ONE(native_recip, n) TWO(max, n) TWO(min, n) TWO(pow, n) TWO(fmod, n) TWO(native_divide, n)     \
  THREE(clamp, n) THREE(mad, n) THREE(fma, n) THREE(mix, n)
ALL(FUNCTIONS)
#define WITH_SCALARS(n)                                                                           \
  OWN half##n max(half##n x, half y) { return max(x, (half##n)(y)); }                             \
  OWN half##n min(half##n x, half y) { return min(x, (half##n)(y)); }                             \
  OWN half##n clamp(half##n x, half y, half z) { return clamp(x, (half##n)(y), (half##n)(z)); }
VECTORS(WITH_SCALARS)
OWN half dot(half2 x, half2 y) { return x.x * y.x + x.y * y.y; }
OWN half dot(half4 x, half4 y) { return x.x * y.x + x.y * y.y + x.z * y.z + x.w * y.w; }
