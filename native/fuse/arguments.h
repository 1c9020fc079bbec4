// What every function of this addon needs at the Node-API boundary: its arguments as C++ values, its result as a
// number. Operating errors are returned as negative errno; JavaScript turns them into errors of its own.
#pragma once
#include <node_api.h>

#include <cstdint>
#include <string>

namespace cairn {

constexpr size_t kMaxArguments = 8;

/** The arguments of one call and the pointer that its function was made with. */
struct Call {
  napi_env env;
  napi_value values[kMaxArguments];
  void* data = nullptr;

  Call(napi_env callEnv, napi_callback_info info) : env(callEnv) {
    size_t count = kMaxArguments;
    napi_get_cb_info(env, info, &count, values, nullptr, &data);
  }

  int64_t number(size_t index) const {
    int64_t value = 0;
    napi_get_value_int64(env, values[index], &value);
    return value;
  }

  std::string text(size_t index) const {
    size_t length = 0;
    if (napi_get_value_string_utf8(env, values[index], nullptr, 0, &length) != napi_ok) return {};
    std::string value(length, '\0');
    napi_get_value_string_utf8(env, values[index], value.data(), length + 1, &length);
    return value;
  }

  napi_value result(int64_t value) const {
    napi_value number;
    napi_create_int64(env, value, &number);
    return number;
  }
};

inline void setFunction(napi_env env, napi_value object, const char* name, napi_callback callback, void* data = nullptr) {
  napi_value function;
  napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, data, &function);
  napi_set_named_property(env, object, name, function);
}

}  // namespace cairn
