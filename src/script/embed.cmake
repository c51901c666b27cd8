# Writes OUTPUT: a table of the Lua modules below ROOT as C arrays.
# a/b.lua is module "a.b", a/init.lua is module "a".
set(arrays "")
set(entries "")
set(index 0)
foreach(file IN LISTS MODULES)
  string(REGEX REPLACE "\\.lua$" "" module "${file}")
  string(REGEX REPLACE "/init$" "" module "${module}")
  string(REPLACE "/" "." module "${module}")
  file(READ "${ROOT}/${file}" hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
  string(APPEND arrays
         "static const unsigned char module_${index}[] = {${bytes}0};\n")
  string(APPEND entries "    {\"${module}\", \"@${file}\", "
         "(const char *)module_${index}, sizeof module_${index} - 1},\n")
  math(EXPR index "${index} + 1")
endforeach()
file(WRITE "${OUTPUT}"
     "#include \"script/embedded.h\"\n\n${arrays}\n"
     "const struct lm_embedded lm_embedded_modules[] = {\n${entries}};\n"
     "const size_t lm_embedded_count = ${index};\n")
