// Fields first; then, in an array, elements.
#include "runtime/trace/difference.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace sluice::trace {
namespace {

template <class T>
double number(T value) {
  if constexpr (std::is_same_v<T, BF16>) {
    return static_cast<double>(value.to_float());
  } else {
    return static_cast<double>(value);
  }
}

template <class T>
std::string text(T value) {
  if constexpr (std::is_same_v<T, BF16>) return fmt::to_string(value.to_float());
  if constexpr (!std::is_same_v<T, BF16>) return fmt::to_string(value);
}

// "[12, 5]" of a flat index.
std::string index_text(const Shape& shape, std::int64_t flat) {
  std::vector<std::int64_t> at(static_cast<std::size_t>(shape.rank()));
  for (int axis = shape.rank(); axis-- > 0;) {
    at[static_cast<std::size_t>(axis)] = flat % shape[axis];
    flat /= shape[axis];
  }
  return fmt::format("[{}]", fmt::join(at, ", "));
}

// By bits: two NaNs are the same, 0 and -0 are not.
template <class T>
void compare_elements(const Tensor& here, const Tensor& there, Difference& out) {
  const std::span<T> a = here.values<T>();
  const std::span<T> b = there.values<T>();
  out.elements = static_cast<std::int64_t>(a.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::memcmp(&a[i], &b[i], sizeof(T)) == 0) continue;
    if (out.elements_differ++ == 0) {
      out.element = index_text(here.shape(), static_cast<std::int64_t>(i));
      out.here = text(a[i]);
      out.there = text(b[i]);
    }
    out.distance_max = std::max(out.distance_max, std::abs(number(a[i]) - number(b[i])));
  }
}

void compare_arrays(const Tensor& here, const Tensor& there, Difference& out) {
  switch (here.dtype()) {
    case DType::kF32: return compare_elements<float>(here, there, out);
    case DType::kBF16: return compare_elements<BF16>(here, there, out);
    case DType::kI32: return compare_elements<std::int32_t>(here, there, out);
    case DType::kI64: return compare_elements<std::int64_t>(here, there, out);
    case DType::kU8: return compare_elements<std::uint8_t>(here, there, out);
    case DType::kF64: return compare_elements<double>(here, there, out);
    case DType::kF16:
    case DType::kE4M3: return;  // no message carries them
  }
}

void compare_field(const Field& a, const Field& b, const Told& here, const Told& there,
                   Difference& out) {
  out.field = a.name;
  out.here = a.value;
  out.there = b.value;
  if (!a.array || !b.array || a.value != b.value) return;
  out.array = a.value;
  out.here = fmt::format("digest {:016x}", a.array->digest);
  out.there = fmt::format("digest {:016x}", b.array->digest);
  const Result<Tensor> mine = here.elements(*a.array);
  const Result<Tensor> theirs = there.elements(*b.array);
  if (mine && theirs) compare_arrays(*mine, *theirs, out);
}

}  // namespace

std::string to_string(const Difference& d, std::string_view here, std::string_view there) {
  std::string out = fmt::format("{}: {}", d.actor, d.message);
  if (!d.receiver.empty()) out += fmt::format(" to {}", d.receiver);
  if (!d.note.empty()) out += fmt::format(" ({})", d.note);
  if (d.field.empty()) return out + fmt::format(": {} {}, {} {}", here, d.here, there, d.there);
  out += fmt::format(" differs in {}", d.field);
  if (!d.array.empty()) out += fmt::format(" {}", d.array);
  if (!d.element.empty()) out += fmt::format(", first at {}", d.element);
  out += fmt::format(": {} {}, {} {}", d.here, here, d.there, there);
  if (d.elements_differ > 0) {
    out += fmt::format(" ({} of {} elements differ, by {:.3g} at most)", d.elements_differ,
                       d.elements, d.distance_max);
  } else if (!d.array.empty()) {
    out += " (a recording with --payloads all shows the elements)";
  }
  return out;
}

Result<std::optional<Difference>> compare(const Told& here, const Told& there) {
  if (std::equal(here.message.begin(), here.message.end(), there.message.begin(),
                 there.message.end()))
    return std::nullopt;
  SLUICE_ASSIGN(const std::vector<Field> mine, fields(ByteReader(here.message)));
  SLUICE_ASSIGN(const std::vector<Field> theirs, fields(ByteReader(there.message)));
  Difference out;
  ByteReader mine_head(here.message), their_head(there.message);
  out.message = to_string(take_head(mine_head));
  out.here = out.message;
  out.there = to_string(take_head(their_head));
  if (out.here != out.there) return out;
  const std::size_t both = std::min(mine.size(), theirs.size());
  for (std::size_t i = 0; i < both; ++i) {
    if (mine[i].value == theirs[i].value && mine[i].array == theirs[i].array) continue;
    compare_field(mine[i], theirs[i], here, there, out);
    return out;
  }
  return out;
}

}  // namespace sluice::trace
