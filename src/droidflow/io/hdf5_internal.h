#pragma once

/// HDF5's C API as far as the reader and the writer of trajectory.h5 share it. Not installed.

#include <string>
#include <utility>

#include <hdf5.h>

namespace droidflow {

/// An HDF5 identifier that closes itself. Move only.
class Hdf5Handle {
 public:
  using CloseFunction = herr_t (*)(hid_t);

  Hdf5Handle(hid_t id, CloseFunction close) : id_(id), close_(close) {}
  Hdf5Handle(Hdf5Handle&& other) noexcept
      : id_(std::exchange(other.id_, H5I_INVALID_HID)), close_(other.close_) {}
  Hdf5Handle& operator=(Hdf5Handle&&) = delete;
  ~Hdf5Handle() {
    if (id_ >= 0) close_(id_);
  }

  [[nodiscard]] hid_t get() const { return id_; }
  [[nodiscard]] bool valid() const { return id_ >= 0; }

 private:
  hid_t id_;
  CloseFunction close_;
};

/// What the innermost frame of HDF5's error stack said when a call last failed, e.g. "truncated
/// file: eof = 9, …".
inline std::string& Hdf5ErrorText() {
  static std::string text;
  return text;
}

/// Has HDF5 leave its errors in Hdf5ErrorText instead of printing them. They are taken while a call
/// fails: the next call, if only to close something, clears HDF5's own record.
inline void QuietHdf5() {
  const H5E_auto2_t keep_text = [](hid_t stack, void*) -> herr_t {
    return H5Ewalk2(
        stack,
        H5E_WALK_UPWARD,
        [](unsigned depth, const H5E_error2_t* error, void*) -> herr_t {
          if (depth == 0 && error->desc != nullptr) Hdf5ErrorText() = error->desc;
          return 0;
        },
        nullptr);
  };
  Hdf5ErrorText() = "no reason given by hdf5";
  H5Eset_auto2(H5E_DEFAULT, keep_text, nullptr);
}

}  // namespace droidflow
