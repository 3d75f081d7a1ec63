// Whether a sanitizer watches: it takes ten times as long, and looks at accesses, not at values. So
// tests that draw many cases draw fewer then.
#pragma once

namespace sluice::test {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kUnderSanitizer = true;
#else
inline constexpr bool kUnderSanitizer = false;
#endif

}  // namespace sluice::test
