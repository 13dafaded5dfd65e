"""What an answer is: which class, is it right, how sure, and how it is written; arrays alone, no Keras."""
