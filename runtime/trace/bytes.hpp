// Little-endian fields one after the other: what the records of a log are made of.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace sluice::trace {

static_assert(std::endian::native == std::endian::little, "logs are read as they lie in memory");

template <class T>
concept Plain = std::is_arithmetic_v<T> || std::is_enum_v<T>;

class ByteWriter {
 public:
  ByteWriter() { bytes_.reserve(kReserve); }
  template <Plain T>
  void put(T value) {
    const std::size_t at = bytes_.size();
    bytes_.resize(at + sizeof(T));
    std::memcpy(bytes_.data() + at, &value, sizeof(T));
  }
  void put_text(std::string_view text) {
    put(static_cast<std::uint32_t>(text.size()));
    const auto bytes = std::as_bytes(std::span(text));
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }
  [[nodiscard]] std::span<const std::byte> bytes() const { return bytes_; }

 private:
  static constexpr std::size_t kReserve = 256;  // most records
  std::vector<std::byte> bytes_;
};

/// Reads what ByteWriter wrote. Behind the end everything is zero or empty and ok() is false.
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : rest_(bytes) {}
  template <Plain T>
  [[nodiscard]] T take() {
    T value{};
    const std::span<const std::byte> from = take_bytes(sizeof(T));
    if (!from.empty()) std::memcpy(&value, from.data(), sizeof(T));
    return value;
  }
  template <Plain T>
  void take_into(T& value) {
    value = take<T>();
  }
  [[nodiscard]] std::string take_text() {
    const std::span<const std::byte> from = take_bytes(take<std::uint32_t>());
    return {reinterpret_cast<const char*>(from.data()), from.size()};
  }
  /// Empty when fewer are left.
  [[nodiscard]] std::span<const std::byte> take_bytes(std::size_t count) {
    if (count > rest_.size()) {
      fail();
      return {};
    }
    const std::span<const std::byte> out = rest_.first(count);
    rest_ = rest_.subspan(count);
    return out;
  }
  /// A number of items that each take a byte at least.
  [[nodiscard]] std::size_t take_count() {
    const auto count = take<std::uint32_t>();
    if (count <= rest_.size()) return count;
    fail();
    return 0;
  }
  /// What was read cannot be: from here on nothing is.
  void fail() {
    ok_ = false;
    rest_ = {};
  }
  [[nodiscard]] std::span<const std::byte> rest() const { return rest_; }
  [[nodiscard]] bool ok() const { return ok_; }

 private:
  std::span<const std::byte> rest_;
  bool ok_ = true;
};

}  // namespace sluice::trace
