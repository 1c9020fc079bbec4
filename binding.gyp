{
  "target_defaults": {
    "cflags_cc": ["-std=c++20", "-O3", "-Wall", "-Wextra", "-fno-exceptions", "-fvisibility=hidden"],
    "cflags_cc!": ["-fno-rtti", "-std=gnu++17"],
    "defines": ["NAPI_VERSION=9", "_FILE_OFFSET_BITS=64", "_GNU_SOURCE"]
  },
  "targets": [
    { "target_name": "fuse", "sources": ["<!@(ls native/fuse/*.cc)"] },
    { "target_name": "kernels", "sources": ["<!@(ls native/kernels/*.cc)"] },
    { "target_name": "files", "sources": ["<!@(ls native/files/*.cc)"] },
    { "target_name": "cairn-guard", "type": "executable", "sources": ["native/guard/guard.cc"] },
    { "target_name": "cairn-look", "type": "executable", "sources": ["native/look/look.cc"] }
  ]
}
