#pragma once
#include <node_api.h>

namespace cairn {
void registerMount(napi_env env, napi_value exports);
}
