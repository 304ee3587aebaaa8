#pragma once

/// Which sanitizer a build has: GCC says so by macros, Clang by features. 0 or 1 each.

#if defined(__has_feature)
#define DF_HAS_FEATURE(name) __has_feature(name)
#else
#define DF_HAS_FEATURE(name) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || DF_HAS_FEATURE(address_sanitizer)
#define DF_ADDRESS_SANITIZER 1
#else
#define DF_ADDRESS_SANITIZER 0
#endif

#if defined(__SANITIZE_THREAD__) || DF_HAS_FEATURE(thread_sanitizer)
#define DF_THREAD_SANITIZER 1
#else
#define DF_THREAD_SANITIZER 0
#endif

#define DF_SANITIZED (DF_ADDRESS_SANITIZER || DF_THREAD_SANITIZER)
