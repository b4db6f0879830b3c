; A run on the caller's thread, for libraries that know no other.

define i32 @{{prefix}}_{{function}}(ptr %workspace, ptr %inputs, ptr %outputs) nounwind {
entry:
  %ready = call i32 @netc.ready(ptr %workspace, ptr %inputs, ptr %outputs)
  %fits = icmp eq i32 %ready, 0
  br i1 %fits, label %run, label %done
run:
{{bring}}  %weights = call ptr @netc.weights.of(ptr %workspace)
  call void @netc.sequence(ptr %workspace, ptr %weights, ptr %inputs, ptr %outputs)
  br label %done
done:
  ret i32 %ready
}
