; A library's test of itself: samples are made, the network is run, and the answer is compared with what is stored.

; The next number of the generator at `state`.
define internal i32 @netc.random(ptr %state) noinline nounwind{{text}} {
entry:
  %last = load i32, ptr %state, align 4
  %product = mul i32 %last, {{multiplier}}
  %next = add i32 %product, {{increment}}
  store i32 %next, ptr %state, align 4
  ret i32 %next
}

define i32 @{{prefix}}_selftest(ptr %workspace, ptr %buffers) nounwind{{text}} {
entry:
  %state = alloca i32, align 4
  %inputs = alloca [{{inputs_or_one}} x ptr]
  %outputs = alloca [{{outputs}} x ptr]
  %placed = call i32 @netc.placed(ptr %buffers)
  %fits = icmp eq i32 %placed, 0
  br i1 %fits, label %begin, label %unfit
unfit:
  ret i32 %placed
begin:
{{reset}}{{samples}}
  %status = call i32 @{{prefix}}_{{function}}(ptr %workspace, ptr %inputs, ptr %outputs)
  %ran = icmp eq i32 %status, 0
  br i1 %ran, label %compare, label %failed
failed:
  ret i32 %status
compare:
{{comparisons}}
  %result = select i1 %all, i32 0, i32 {{wrong}}
  ret i32 %result
}
