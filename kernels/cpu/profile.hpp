// Where the time of a step goes, by kernel name.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>

#include "kernels/cpu/compute_context.hpp"

namespace sluice::kernels {

/// Seconds, calls and operations by kernel. Written by the lane's thread alone.
class Profile {
 public:
  struct Entry {
    double seconds = 0;
    std::int64_t calls = 0;
    double operations = 0;  ///< floating-point operations, 0 where they do not tell anything
  };
  void add(const char* name, double seconds, double operations);
  void add(const Profile& other);
  void clear() { entries_.clear(); }
  [[nodiscard]] const std::map<std::string, Entry>& entries() const { return entries_; }

 private:
  std::map<std::string, Entry> entries_;
};

/// Measures its own lifetime when the context has a profile; free otherwise.
class ProfileScope {
 public:
  ProfileScope(const ComputeContext& context, const char* name, double operations = 0);
  ~ProfileScope();
  ProfileScope(const ProfileScope&) = delete;
  ProfileScope& operator=(const ProfileScope&) = delete;

 private:
  Profile* profile_;
  const char* name_;
  double operations_;
  std::chrono::steady_clock::time_point start_;
};

}  // namespace sluice::kernels
