"""What a study is asked for, and what a trial is: values, validated once."""
