#pragma once
#include <node_api.h>

namespace cairn {
void registerConnection(napi_env env, napi_value exports);
}
